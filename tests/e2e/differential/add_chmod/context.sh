echo 1 > file; mkdir -p dir/sub; echo 2 > dir/sub/f
