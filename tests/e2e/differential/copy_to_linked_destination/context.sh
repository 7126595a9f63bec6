mkdir dir; echo 1 > file; echo 2 > dir/inside
