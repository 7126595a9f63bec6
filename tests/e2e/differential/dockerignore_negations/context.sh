mkdir -p src/keep src/deep/er docs
touch src/a.c src/b.tmp src/keep/c.tmp src/keep/d.c src/deep/e.tmp src/deep/er/f.c docs/g.md README.md README-secret.md top.tmp
printf '*\n!src\nsrc/**/*.tmp\n!src/keep/*.tmp\n!*.md\nREADME*.md\n!README-secret.md\n' > .dockerignore
