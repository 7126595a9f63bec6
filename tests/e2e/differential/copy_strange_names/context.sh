echo 1 > 'with space'; echo 2 > "$(printf 'tab\there')"; echo 3 > 'a*b'; echo 4 > -dash; echo 5 > 'a"b'; echo 6 > 'back\slash'; echo 7 > '#hash'; echo 8 > 'a:b'
