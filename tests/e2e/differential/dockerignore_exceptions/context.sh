mkdir -p a/b/c x/y; touch a/1 a/b/2 a/b/c/3 x/1 x/y/2 top
printf '*\n!a/b\na/b/c\n!x/y/2\n' > .dockerignore
