mkdir t; echo 1 > t/f; tar -C t -czf odd.data f; tar -C t -czf one.tar.gz f; echo 2 > t/g; tar -C t -czf two.tar.gz g; rm -r t
tar -cf empty.tar -T /dev/null; echo text > gzipped; gzip -n gzipped; echo text > text.tar
