echo dev > index.html; echo 'listen 80;' > nginx.conf; chmod 600 nginx.conf; echo pem > ca.pem; touch -d 2007-07-07T07:07:07Z ca.pem; tar -czf ca.tar.gz ca.pem; rm ca.pem
