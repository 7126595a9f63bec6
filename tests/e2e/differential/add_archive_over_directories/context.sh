mkdir -p t/dir; echo 1 > t/dir/f; echo 2 > t/new; ln t/new t/hard; ln -s dir t/link; chmod 2755 t/dir; chown -R 11:22 t
find t -exec touch -h -d 2007-07-07T07:07:07Z {} +
tar --sort=name -C t -cf a.tar .; rm -r t
