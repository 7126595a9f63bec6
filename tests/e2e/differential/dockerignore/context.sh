mkdir -p sub/deep node_modules/x keep/tmp '#x'
touch a.log b.txt sub/a.log sub/deep/c.log sub/deep/d.txt node_modules/x/y keep/tmp/z keep/this important.log '#x/f'
printf '# comment\n*.log\n!important.log\n**/deep/*.txt\nnode_modules\nkeep/tmp/\n\n  sub/a.log  \n.dockerignore\nDockerfile\n' > .dockerignore
