//! A writer of XML that cannot be talked into writing anything but what was meant.
//!
//! Names of elements and attributes are ours and static; every value is escaped here and nowhere else.

/// Attributes of one element.
pub(crate) type Attributes<'a> = &'a [(&'static str, &'a str)];

#[derive(Default)]
pub(crate) struct Xml {
    out: String,
    depth: usize,
}

impl Xml {
    pub(crate) fn finish(self) -> String {
        self.out
    }

    /// `<name a='b'/>`
    pub(crate) fn empty(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.tag(name, attributes);
        self.out.push_str("/>\n");
    }

    /// `<name a='b'>text</name>`
    pub(crate) fn text(&mut self, name: &'static str, attributes: Attributes<'_>, text: &str) {
        self.tag(name, attributes);
        self.out.push('>');
        escape(&mut self.out, text);
        self.end(name);
    }

    /// `<name a='b'>`, what `inside` writes, `</name>`.
    pub(crate) fn nest(
        &mut self,
        name: &'static str,
        attributes: Attributes<'_>,
        inside: impl FnOnce(&mut Self),
    ) {
        self.tag(name, attributes);
        self.out.push_str(">\n");
        self.depth += 1;
        inside(self);
        self.depth -= 1;
        self.indent();
        self.end(name);
    }

    fn tag(&mut self, name: &str, attributes: Attributes<'_>) {
        self.indent();
        self.out.push('<');
        self.out.push_str(name);
        for (key, value) in attributes {
            self.out.push(' ');
            self.out.push_str(key);
            self.out.push_str("='");
            escape(&mut self.out, value);
            self.out.push('\'');
        }
    }

    fn end(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push_str(">\n");
    }

    fn indent(&mut self) {
        for _ in 0..self.depth {
            self.out.push_str("  ");
        }
    }
}

/// Escapes for text and for attributes in either quote. White space other than a blank is written as a
/// reference, since parsers fold it in attributes; what XML 1.0 cannot carry at all becomes U+FFFD.
fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_text() {
        let mut xml = Xml::default();
        let hostile = "'/><evil a=\"&\">\n\0\u{1b}";
        xml.nest("a", &[("b", hostile)], |xml| {
            xml.text("c", &[], hostile);
            xml.empty("d", &[("e", "]]>")]);
        });
        assert_eq!(
            xml.finish(),
            "<a b='&apos;/&gt;&lt;evil a=&quot;&amp;&quot;&gt;&#10;\u{fffd}\u{fffd}'>\n  \
             <c>&apos;/&gt;&lt;evil a=&quot;&amp;&quot;&gt;&#10;\u{fffd}\u{fffd}</c>\n  \
             <d e=']]&gt;'/>\n</a>\n"
        );
    }
}
