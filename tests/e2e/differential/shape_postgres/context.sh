for f in docker-entrypoint docker-ensure-initdb; do echo '#!/bin/sh' > $f.sh; chmod 755 $f.sh; done
