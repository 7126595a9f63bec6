mkdir d; touch ignored kept d/f; printf 'kept\n' > .dockerignore
