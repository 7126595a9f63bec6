mkdir t; echo 1 > t/f; tar -C t -cf a.tar f; zstd -q --rm a.tar; rm -r t
