echo 1 > file.txt; mkdir t; echo 2 > t/f; tar -C t -cf a.tar f; rm -r t
