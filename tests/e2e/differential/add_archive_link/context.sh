mkdir t dir; echo 1 > t/f; tar -C t -cf a.tar f; cp a.tar dir/; ln -s a.tar link.tar; rm -r t
