mkdir -p t/dir; echo 1 > t/file; echo 2 > t/dir/f; chown -R 11:22 t; tar -C t -cf a.tar file dir; rm -r t
