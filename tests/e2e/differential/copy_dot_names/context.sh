mkdir .dir; echo 1 > .dir/.f; echo 2 > .one; echo 3 > ..file; echo 4 > plain
