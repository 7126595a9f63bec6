mkdir -p src/deep; echo a > src/a; echo b > src/deep/b; chmod 755 src/a; ln -s a src/link; chmod 700 src/deep
