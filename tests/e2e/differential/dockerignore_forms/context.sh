mkdir -p a b c/d e; touch a/f b/f c/d/f e/f '#no' 'sp ace' lit?ral litXral [x] x '!bang'
printf '\357\273\277/a\r\n./b/\r\n\r\n  c/./d/../d  \n\\#no\nsp ace\nlit\\?ral\n\\[x]\n# comment\n\\!bang\n ! e/f\ne\n' > .dockerignore
