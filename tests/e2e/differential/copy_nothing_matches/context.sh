touch some
