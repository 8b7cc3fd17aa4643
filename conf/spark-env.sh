# Sourced by Spark's own launcher just before the JVM starts.
# shellcheck shell=bash

# Spark 4.2 asks for a preview module of Java, about which the JVM prints one line that no option turns off; everything
# else that the JVM says goes through.
exec 2> >(exec grep --line-buffered -v 'WARNING: Using incubator modules: jdk.incubator.vector' >&2)

# Java's archive of the classes that a job loads (scripts/archive-classes.sh) halves the start of Spark. Java takes it only
# where every folder on the path of classes is empty, so what this folder holds is named instead of found there. A file of
# one's own in it (core-site.xml, metrics.properties, ...) would not be found: then Spark starts without the archive.
conf=$(cd "$SPARK_CONF_DIR" && pwd) && classes=${conf%/*}/.cache/classes
if [ "$1" = org.apache.spark.deploy.SparkSubmit ] && [ -d "$classes/conf" ] &&
  ! { compgen -G "$conf/*.xml"; compgen -G "$conf/*.properties"; } | grep -qvE '/(fairscheduler\.xml|log4j2\.properties)$'; then
  SPARK_CONF_DIR=$classes/conf
  SPARK_SUBMIT_OPTS="\"-Dlog4j2.configurationFile=$conf/log4j2.properties\" ${SPARK_SUBMIT_OPTS:-}"
  if [ -r "$classes/classes.jsa" ]; then
    SPARK_SUBMIT_OPTS="\"-XX:SharedArchiveFile=$classes/classes.jsa\" -Xshare:auto -Xlog:cds=off -Xlog:cds+dynamic=off $SPARK_SUBMIT_OPTS"
  fi
  set -- "$1" --properties-file "$conf/spark-defaults.conf" \
    --conf "spark.scheduler.allocation.file=file:$conf/fairscheduler.xml" "${@:2}"
fi
unset conf classes
