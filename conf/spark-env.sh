# Sourced by Spark's own launcher just before the JVM starts. Spark 4.2 asks for a preview module of Java, about which
# the JVM prints one line that no option turns off; everything else that the JVM says goes through.
# shellcheck shell=bash
exec 2> >(exec grep --line-buffered -v 'WARNING: Using incubator modules: jdk.incubator.vector' >&2)
