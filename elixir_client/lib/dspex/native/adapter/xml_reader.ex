defmodule DSPex.Native.Adapter.XmlReader do
  @moduledoc """
  A small reader of XML fragments, as strict as the parser that Python uses: elements, attributes, text, CDATA, comments,
  processing instructions, the five entities and numeric references. No document types, no external entities, no atoms
  made of names.

      iex> {:ok, [root]} = DSPex.Native.Adapter.XmlReader.read("<a k='1'>x &lt; y<b/>z</a>")
      iex> {root.tag, root.text, hd(root.children).tail}
      {"a", "x < y", "z"}
  """

  defstruct [:tag, attributes: [], text: "", children: [], tail: ""]

  @type t :: %__MODULE__{
          tag: String.t(),
          attributes: [{String.t(), String.t()}],
          text: String.t(),
          children: [t],
          tail: String.t()
        }

  @max_depth 1000
  @entities %{"lt" => "<", "gt" => ">", "amp" => "&", "apos" => "'", "quot" => "\""}
  @name ~r/\A[\p{L}\p{Nl}_:][\p{L}\p{N}\p{M}._:\-·]*/u
  @names %{"xml" => "http://www.w3.org/XML/1998/namespace"}

  @doc "The elements of a fragment, or `:error` when it is not well-formed."
  @spec read(String.t()) :: {:ok, [t]} | :error
  def read(fragment) do
    {_text, children, ""} = content(normal(fragment), "", [], [], @names, 0)
    {:ok, children}
  catch
    :bad_xml -> :error
  end

  # XML reads every line end as a new line.
  defp normal(text) do
    if String.match?(text, ~r/[\x00-\x08\x0B\x0C\x0E-\x1F\x{FFFE}\x{FFFF}]/u), do: bad()
    text |> String.replace("\r\n", "\n") |> String.replace("\r", "\n")
  end

  # `text` gathers what stands before the next element: the parent's text, or the tail of the last child.
  defp content("", nil_or_text, run, done, _names, 0), do: close(nil_or_text, run, done, "")
  defp content("", _text, _run, _done, _names, _depth), do: bad()
  defp content(<<"</", _rest::binary>>, _text, _run, _done, _names, 0), do: bad()
  defp content(<<"</", rest::binary>>, text, run, done, _names, _depth), do: close(text, run, done, rest)

  defp content(<<"<!--", rest::binary>>, text, run, done, names, depth),
    do: comment(rest, text, run, done, names, depth)

  defp content(<<"<![CDATA[", rest::binary>>, text, run, done, names, depth) do
    {data, rest} = until(rest, "]]>")
    content(rest, text, [run | data], done, names, depth)
  end

  defp content(<<"<?", rest::binary>>, text, run, done, names, depth) do
    {data, rest} = until(rest, "?>")
    unless Regex.match?(~r/\A(?!xml(\s|\z))[\p{L}_][\p{L}\p{N}._:-]*(\s|\z)/iu, data), do: bad()
    content(rest, text, run, done, names, depth)
  end

  defp content(<<?<, rest::binary>>, text, run, done, names, depth) do
    {text, done} = keep(text, run, done)
    {element, rest} = element(rest, names, depth + 1)
    content(rest, text, [], [element | done], names, depth)
  end

  defp content(<<?&, rest::binary>>, text, run, done, names, depth) do
    {char, rest} = entity(rest)
    content(rest, text, [run | char], done, names, depth)
  end

  defp content(rest, text, run, done, names, depth) do
    {chars, rest} = plain(rest)
    if :binary.match(chars, "]]>") != :nomatch, do: bad()
    content(rest, text, [run | chars], done, names, depth)
  end

  defp comment(rest, text, run, done, names, depth) do
    {comment, rest} = until(rest, "-->")
    if String.contains?(comment, "--") or String.ends_with?(comment, "-"), do: bad()
    content(rest, text, run, done, names, depth)
  end

  defp close(text, run, done, rest) do
    {text, done} = keep(text, run, done)
    {text, Enum.reverse(done), rest}
  end

  defp keep(text, run, []), do: {IO.iodata_to_binary([text | run]), []}
  defp keep(text, run, [last | done]), do: {text, [%{last | tail: IO.iodata_to_binary([last.tail | run])} | done]}

  defp plain(text) do
    case :binary.match(text, ["<", "&"]) do
      {at, 1} -> {binary_part(text, 0, at), binary_part(text, at, byte_size(text) - at)}
      :nomatch -> {text, ""}
    end
  end

  defp until(text, mark) do
    case :binary.split(text, mark) do
      [before, rest] -> {before, rest}
      [_text] -> bad()
    end
  end

  defp element(_text, _names, depth) when depth > @max_depth, do: bad()

  defp element(text, names, depth) do
    {raw, rest} = name(text)
    {attributes, rest} = attributes(rest, [])
    names = declared(attributes, names)
    tag = qualified(raw, names)
    own = for {key, value} <- attributes, not declaration?(key), do: {attribute(key, names), value}
    if own != Enum.uniq_by(own, &elem(&1, 0)), do: bad()

    case rest do
      <<"/>", rest::binary>> ->
        {%__MODULE__{tag: tag, attributes: own}, rest}

      <<?>, rest::binary>> ->
        {text, children, rest} = content(rest, "", [], [], names, depth)
        {%__MODULE__{tag: tag, attributes: own, text: text, children: children}, closing(rest, raw)}

      _other ->
        bad()
    end
  end

  defp closing(text, raw) do
    case name(text) do
      {^raw, rest} -> rest |> blank() |> closed()
      _other -> bad()
    end
  end

  defp closed(<<?>, rest::binary>>), do: rest
  defp closed(_text), do: bad()

  defp name(text) do
    case Regex.run(@name, text) do
      [name] -> {name, binary_part(text, byte_size(name), byte_size(text) - byte_size(name))}
      nil -> bad()
    end
  end

  defp attributes(text, done) do
    case blank(text) do
      <<char, _rest::binary>> = rest when char in [?>, ?/] -> {Enum.reverse(done), rest}
      ^text -> bad()
      rest -> attribute_pair(rest, done)
    end
  end

  defp attribute_pair(text, done) do
    {name, rest} = name(text)

    with <<?=, rest::binary>> <- blank(rest),
         <<quote, rest::binary>> when quote in [?", ?'] <- blank(rest),
         {value, rest} = until(rest, <<quote>>),
         :nomatch <- :binary.match(value, "<") do
      attributes(rest, [{name, references(value)} | done])
    else
      _other -> bad()
    end
  end

  defp references(value) do
    value = String.replace(value, ["\n", "\t"], " ")

    case plain(value) do
      {text, ""} -> text
      {text, <<?&, rest::binary>>} -> rest |> entity() |> then(fn {char, rest} -> text <> char <> references(rest) end)
    end
  end

  defp declaration?(key), do: key == "xmlns" or String.starts_with?(key, "xmlns:")

  defp declared(attributes, names), do: Enum.reduce(attributes, names, &declare/2)

  defp declare({"xmlns", address}, names), do: Map.put(names, "", address)
  # A prefix cannot be taken back, and none is empty.
  defp declare({"xmlns:" <> prefix, address}, _names) when prefix == "" or address == "", do: bad()
  defp declare({"xmlns:" <> prefix, address}, names), do: Map.put(names, prefix, address)
  defp declare(_attribute, names), do: names

  # A prefix that nobody declared is an error; a declared one becomes `{address}name`, as in Python.
  defp qualified(raw, names) do
    case String.split(raw, ":") do
      [name] -> if names[""] in [nil, ""], do: name, else: "{#{names[""]}}#{name}"
      [prefix, name] when prefix != "" and name != "" and is_map_key(names, prefix) -> "{#{names[prefix]}}#{name}"
      _other -> bad()
    end
  end

  defp attribute(key, names), do: if(String.contains?(key, ":"), do: qualified(key, names), else: key)

  defp entity(text) do
    {body, rest} = until(text, ";")

    case body do
      <<"#x", digits::binary>> -> {number(digits, 16), rest}
      <<"#", digits::binary>> -> {number(digits, 10), rest}
      name when is_map_key(@entities, name) -> {@entities[name], rest}
      _other -> bad()
    end
  end

  defp number(digits, base) do
    with true <- byte_size(digits) < 9,
         {code, ""} <- Integer.parse(digits, base),
         true <- code in [9, 10, 13] or code in 0x20..0xD7FF or code in 0xE000..0xFFFD or code in 0x10000..0x10FFFF do
      <<code::utf8>>
    else
      _other -> bad()
    end
  end

  defp blank(<<char, rest::binary>>) when char in [?\s, ?\t, ?\n], do: blank(rest)
  defp blank(text), do: text

  @doc "An element as text, as Python's `ElementTree.tostring` writes it, with its tail."
  @spec to_text(t) :: String.t()
  def to_text(%__MODULE__{} = element) do
    attributes = for {key, value} <- element.attributes, do: " #{key}=\"#{escape_attribute(value)}\""

    body =
      if element.text == "" and element.children == [],
        do: " />",
        else: [">", escape(element.text), Enum.map(element.children, &to_text/1), "</", element.tag, ">"]

    IO.iodata_to_binary(["<", element.tag, attributes, body, escape(element.tail)])
  end

  @doc "Text with `&`, `<` and `>` escaped."
  @spec escape(String.t()) :: String.t()
  def escape(text),
    do: text |> String.replace("&", "&amp;") |> String.replace("<", "&lt;") |> String.replace(">", "&gt;")

  defp escape_attribute(text) do
    text
    |> escape()
    |> String.replace("\"", "&quot;")
    |> String.replace("\r", "&#13;")
    |> String.replace("\n", "&#10;")
    |> String.replace("\t", "&#09;")
  end

  @spec bad() :: no_return
  defp bad, do: throw(:bad_xml)
end
