echo 1 > 'a file'; echo 2 > other
