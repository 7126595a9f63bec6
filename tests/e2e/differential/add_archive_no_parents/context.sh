mkdir -p t/deep/a/b; echo 1 > t/deep/a/b/f; chmod 700 t/deep; chown 5:6 t/deep/a/b/f; tar -C t -cf a.tar deep/a/b/f; rm -r t
