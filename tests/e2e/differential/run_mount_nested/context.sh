mkdir -p src/cache src/t; echo a > src/a
