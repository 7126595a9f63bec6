mkdir dir; echo 1 > dir/file; ln -s file dir/link; ln -s /target dir/out
