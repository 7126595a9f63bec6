mkdir dir; echo 1 > dir/a; ln dir/a dir/b
