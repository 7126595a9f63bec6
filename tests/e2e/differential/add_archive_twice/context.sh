mkdir t; echo 1 > t/f; echo 1 > t/g; chmod 600 t/f; tar -C t -cf a.tar f g; echo second > t/f; chmod 644 t/f; tar -C t -rf a.tar f; rm -r t
