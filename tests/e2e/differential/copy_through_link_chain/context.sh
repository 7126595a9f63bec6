echo 1 > file; mkdir dir; echo 2 > dir/f
