mkdir t; head -c 100000 /dev/urandom > t/f; tar -C t -czf b.tar.gz f; head -c 50000 b.tar.gz > a.tar.gz; rm -r t b.tar.gz
