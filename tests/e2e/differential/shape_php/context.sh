mkdir -p public storage; echo '<?php' > public/index.php; echo '{}' > composer.json; echo lock > composer.lock; touch storage/.keep
