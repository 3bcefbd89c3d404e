#!/bin/sh
# Run by git before a branch moves. Descriptor 3 leads to the server, 4 comes
# from it: lines to show begin with =, then ok or no ends the matter.
{
	echo "GIT_OBJECT_DIRECTORY=$GIT_OBJECT_DIRECTORY"
	echo "GIT_ALTERNATE_OBJECT_DIRECTORIES=$GIT_ALTERNATE_OBJECT_DIRECTORIES"
	echo "GIT_QUARANTINE_PATH=$GIT_QUARANTINE_PATH"
	cat
	echo .
} >&3
while IFS= read -r line <&4; do
	case $line in
	ok) exit 0 ;;
	no) exit 1 ;;
	*) printf '%s\n' "${line#=}" >&2 ;;
	esac
done
echo "the server stopped: look at the app, or push again" >&2
exit 1
