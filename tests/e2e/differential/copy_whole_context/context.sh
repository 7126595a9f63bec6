mkdir -p sub/x .git; echo 1 > file; echo 2 > sub/x/f; echo 3 > .hidden; echo 4 > .git/HEAD; echo 5 > Dockerfile
printf '.git\n' > .dockerignore
