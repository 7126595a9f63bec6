echo 1 > file.txt; echo 2 > file2.txt; echo 3 > '$literal'
