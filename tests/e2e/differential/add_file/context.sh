mkdir dir; echo 1 > file; echo 2 > dir/f; echo 'no archive' > not.tar.gz
