mkdir -p dir/sub; echo 1 > file; echo 2 > dir/sub/file; ln -s file dir/sub/link
