/* SPDX-License-Identifier: MIT */
#include "probes/java_names.h"

#include <stddef.h>
#include <string.h>

#include "probes/name_list.h"

static const char arguments[] = "()";

/*
 * Where the method's own name begins; NULL: it is none. Names of .NET have a module before it, those of C++ no dot in it.
 */
static char *method_of(char *name)
{
	char *open = strchr(name, '('), *space = strchr(name, ' ');

	if (!open || !space || space > open || memchr(space + 1, ' ', (size_t)(open - space - 1)))
		return NULL;
	if (memchr(space, ':', (size_t)(open - space)) || !memchr(space, '.', (size_t)(open - space)))
		return NULL;
	return space + 1;
}

void stint_java_shorten(char *name)
{
	char *method = method_of(name);
	size_t len;

	if (!method)
		return;
	len = strcspn(method, "(");
	if (strlen(method) < len + strlen(arguments))
		return;
	memmove(name, method, len);
	memcpy(name + len, arguments, sizeof(arguments));
}

static bool is_method(const char *name)
{
	size_t len = strlen(name), ending = strlen(arguments);

	return len > ending && strcmp(name + len - ending, arguments) == 0 && strchr(name, '.') &&
	       !strpbrk(name, " :");
}

enum stint_java_owner stint_java_owner(const char *name)
{
	static const char *const libraries[] = {"java.", "javax.", "jdk.", "sun.", "com.sun.", NULL};
	static const char *const frameworks[] = {"akka.",
						 "com.linecorp.armeria.",
						 "io.grpc.",
						 "io.helidon.",
						 "io.micronaut.",
						 "io.netty.",
						 "io.quarkus.",
						 "io.undertow.",
						 "io.vertx.",
						 "jakarta.",
						 "kotlin.",
						 "kotlinx.",
						 "org.apache.catalina.",
						 "org.apache.coyote.",
						 "org.apache.mina.",
						 "org.apache.pekko.",
						 "org.apache.tomcat.",
						 "org.eclipse.jetty.",
						 "org.glassfish.",
						 "org.jboss.",
						 "org.springframework.",
						 "org.xnio.",
						 "reactor.",
						 "scala.",
						 NULL};

	if (!is_method(name))
		return STINT_JAVA_NONE;
	if (stint_name_list_beginning(libraries, name))
		return STINT_JAVA_LIBRARY;
	return stint_name_list_beginning(frameworks, name) ? STINT_JAVA_FRAMEWORK : STINT_JAVA_PROGRAM;
}
