mkdir -p src node_modules/x; echo a > src/a.js; echo b > src/b.js; echo '{}' > package.json; echo 1 > package-lock.json; echo no > node_modules/x/f; printf 'node_modules\n*.log\n' > .dockerignore
