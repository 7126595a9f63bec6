mkdir d; echo 1 > a; echo 2 > d/b
