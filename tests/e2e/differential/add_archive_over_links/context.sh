mkdir -p t/d u; echo 1 > t/d/f; echo 2 > u/g; tar -C t -cf a.tar d/f; tar -C u -cf b.tar g; rm -r t u
