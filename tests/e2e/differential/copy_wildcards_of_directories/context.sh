mkdir -p a/1/d a/2 b; echo 1 > a/1/f1; echo 2 > a/2/f2; echo 3 > a/1/d/g; echo 4 > b/h; echo 5 > 'w*x'; echo 6 > wyx; echo 7 > quoted
chmod 700 a; ln -s 1 a/link
