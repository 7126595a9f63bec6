mkdir d1 d2; touch one.txt two.txt a.md bb.md a.log b.log c.log d1/f1 d1/g1 d2/f2 d2/f3
