mkdir -p x/y; echo 1 > a; ln a x/b; ln a x/y/c; echo 1 > x/same; chmod 640 a
ln a ignored; echo ignored > .dockerignore
