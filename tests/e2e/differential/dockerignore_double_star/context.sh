mkdir -p a/x/b a/b x/y/z node_modules/a sub/node_modules/b deep/er/est
touch a/x/b/f a/b/f x/y/z/o.o keep.o sub/keep.o sub/o.o node_modules/a/f sub/node_modules/b/f deep/er/est/only deep/er/other
printf '**/node_modules\n**/*.o\n!**/keep.o\na/**/b\n**/est/**\n' > .dockerignore
