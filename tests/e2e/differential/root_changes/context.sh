echo 1 > a; mkdir d; chmod 711 .
