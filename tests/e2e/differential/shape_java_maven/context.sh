mkdir -p src/main web api; echo p > pom.xml; echo w > web/pom.xml; echo c > src/main/A.java; cp web/pom.xml api/pom.xml
