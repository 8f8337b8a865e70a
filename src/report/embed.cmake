# SPDX-License-Identifier: Apache-2.0
# cmake -DINPUT=page.css -DNAME=zq_page_css -DOUTPUT=page_css.c -P embed.cmake: a text as a C string
file(READ ${INPUT} text HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," text "${text}")
string(REGEX REPLACE "(................................................................................)" "\\1\n" text "${text}")
get_filename_component(header ${CMAKE_CURRENT_LIST_DIR}/html.h ABSOLUTE)
file(WRITE ${OUTPUT} "#include \"${header}\"\nconst char ${NAME}[] = {\n${text}0};\n")
