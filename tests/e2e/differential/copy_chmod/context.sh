mkdir -p dir/sub; echo 1 > file; echo 2 > dir/sub/file; chmod 700 dir/sub; ln -s file dir/sub/link
