mkdir dir; touch -d 1970-01-01T00:00:00Z epoch; touch -d 1970-01-01T00:00:01Z dir/old; touch -d '2001-02-03T04:05:06.987654321Z' nanoseconds
touch -d 1985-10-26T01:21:00Z dir
