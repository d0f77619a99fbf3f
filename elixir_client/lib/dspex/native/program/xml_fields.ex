defmodule DSPex.Native.Program.XmlFields do
  @moduledoc """
  The fields in a growing answer of the XMLAdapter: `<field>…</field>`. What may become the closing tag, an entity or white
  space at the end waits for the next piece.

      iex> alias DSPex.Native.Program.XmlFields
      iex> {tokens, state} = XmlFields.feed(XmlFields.new(["answer"]), "<answer> 1 &l")
      iex> {tokens, elem(XmlFields.feed(state, "t; 2 </answer>"), 0)}
      {[{"answer", "1", false}], [{"answer", " < 2", true}]}
  """

  alias DSPex.Native.Program.JsonFields
  alias DSPex.Native.Program.Trimmed

  defstruct [:names, field: nil, seen: [], trimmed: %Trimmed{}, tail: ""]

  @type t :: %__MODULE__{}

  @tag ~r/<(\w+)>/u
  @entity ~r/&(#?\w{1,8});/
  @entities %{"amp" => "&", "lt" => "<", "gt" => ">", "quot" => "\"", "apos" => "'"}
  @longest_entity 10

  @doc "Before the first piece; `names` are the fields that count."
  @spec new([String.t()]) :: t
  def new(names), do: %__MODULE__{names: names}

  @doc "Takes a piece; the tokens are at most one a field, in the order of the answer."
  @spec feed(t, String.t()) :: {[JsonFields.token()], t}
  def feed(state, text), do: step(%{state | tail: state.tail <> text}, [])

  @doc "Ends the answer: a field that is still open gets its last token."
  @spec finish(t) :: [JsonFields.token()]
  def finish(%{field: nil}), do: []

  def finish(state) do
    {text, _trimmed} = Trimmed.push(state.trimmed, unescaped(state.tail))
    [{state.field, text, true}]
  end

  defp step(%{field: nil} = state, done) do
    case opening(state) do
      {name, stop} ->
        step(%{after_tail(state, stop) | field: name, seen: [name | state.seen], trimmed: %Trimmed{}}, done)

      nil ->
        {merged(done), after_tail(state, last_opening(state.tail))}
    end
  end

  defp step(%{field: field, tail: tail} = state, done) do
    closing = "</#{field}>"

    case :binary.match(tail, closing) do
      {at, size} ->
        {text, _trimmed} = Trimmed.push(state.trimmed, tail |> binary_part(0, at) |> unescaped())
        step(%{after_tail(state, at + size) | field: nil}, [{field, text, true} | done])

      :nomatch ->
        cut =
          whole_entities(tail, byte_size(tail) - overlap(tail, closing, min(byte_size(tail), byte_size(closing) - 1)))

        {text, trimmed} = Trimmed.push(state.trimmed, tail |> binary_part(0, cut) |> unescaped())
        {merged([{field, text, false} | done]), %{after_tail(state, cut) | trimmed: trimmed}}
    end
  end

  defp after_tail(%{tail: tail} = state, at), do: %{state | tail: binary_part(tail, at, byte_size(tail) - at)}

  defp opening(%{tail: tail, names: names, seen: seen}) do
    @tag
    |> Regex.scan(tail, return: :index)
    |> Enum.find_value(fn [{at, size}, {name_at, name_size}] ->
      name = binary_part(tail, name_at, name_size)
      if name in names and name not in seen, do: {name, at + size}
    end)
  end

  defp last_opening(tail) do
    case :binary.matches(tail, "<") do
      [] -> byte_size(tail)
      matches -> matches |> List.last() |> elem(0)
    end
  end

  defp merged(done) do
    for {name, text, last?} <- Enum.reverse(done), text != "" or last?, do: {name, text, last?}
  end

  defp overlap(_tail, _closing, 0), do: 0

  defp overlap(tail, closing, length) do
    if binary_part(tail, byte_size(tail), -length) == binary_part(closing, 0, length),
      do: length,
      else: overlap(tail, closing, length - 1)
  end

  # The last `&` of an entity's length is kept back with all that follows it, unless it is closed.
  defp whole_entities(tail, stop) do
    start = max(0, stop - @longest_entity)

    case tail |> binary_part(start, stop - start) |> :binary.matches("&") do
      [] ->
        stop

      matches ->
        at = start + (matches |> List.last() |> elem(0))
        if tail |> binary_part(at, stop - at) |> String.contains?(";"), do: stop, else: at
    end
  end

  defp unescaped(text) do
    if String.contains?(text, "&"), do: Regex.replace(@entity, text, &character/2), else: text
  end

  defp character(whole, "#" <> code), do: code |> number() |> text(whole)
  defp character(whole, name), do: Map.get(@entities, name, whole)

  defp number(<<x, hex::binary>>) when x in [?x, ?X], do: Integer.parse(hex, 16)
  defp number(digits), do: Integer.parse(digits)

  defp text({code, ""}, _whole) when code in 0..0xD7FF or code in 0xE000..0x10FFFF, do: <<code::utf8>>
  defp text(_other, whole), do: whole
end
