defmodule DSPex.Native.Template.Parser do
  @moduledoc """
  Templates as trees: `text`, `{:value, path, filters, place}`, `{:section | :inverted, path, nodes}`.
  """

  alias DSPex.Error

  @max_bytes 1_048_576
  @max_depth 32
  @name ~r/\A(?:\.|[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*)\z/
  @default ~r/\Adefault\s*:\s*"((?:[^"\\]|\\.)*)"\z/s

  @type place :: non_neg_integer
  @type tree :: String.t() | {:value, [String.t()], keyword, place} | {:section | :inverted, [String.t()], [tree]}

  @doc "Parses a text."
  @spec parse(String.t()) :: {:ok, [tree]} | {:error, Error.t()}
  def parse(text) when byte_size(text) > @max_bytes do
    {:error, Error.new(:limit_exceeded, "the template has #{byte_size(text)} bytes; at most #{@max_bytes} are allowed")}
  end

  def parse(text) do
    if String.valid?(text), do: {:ok, nodes(text, text, 0, [], [])}, else: malformed("it is not UTF-8", text, 0)
  catch
    {:malformed, reason, place} -> malformed(reason, text, place)
  end

  # `open` is the stack of sections around the place: their kind, name, place and the nodes before them.
  defp nodes("", _text, _place, [{_kind, path, place, _before} | _outer], _done) do
    throw({:malformed, "{{##{Enum.join(path, ".")}}} is not closed", place})
  end

  defp nodes("", _text, _place, [], done), do: Enum.reverse(done)

  defp nodes(rest, text, place, open, done) do
    case :binary.match(rest, "{{") do
      :nomatch -> nodes("", text, place, open, [rest | done])
      {0, 2} -> tag(rest, text, place, open, done)
      {length, 2} -> nodes(drop(rest, length), text, place + length, open, [binary_part(rest, 0, length) | done])
    end
  end

  defp tag(rest, text, place, open, done) do
    {content, size} = content(drop(rest, 2), place)
    after_tag = drop(rest, size)

    case content do
      "!" <> _remark -> nodes(after_tag, text, place + size, open, done)
      "#" <> name -> open(:section, name, {after_tag, text, place, size}, open, done)
      "^" <> name -> open(:inverted, name, {after_tag, text, place, size}, open, done)
      "/" <> name -> close(path(name, place), {after_tag, text, place, size}, open, done)
      expression -> nodes(after_tag, text, place + size, open, [value(expression, place) | done])
    end
  end

  defp content(rest, place) do
    case :binary.match(rest, "}}") do
      {length, 2} -> {rest |> binary_part(0, length) |> String.trim(), length + 4}
      :nomatch -> throw({:malformed, "{{ is not closed", place})
    end
  end

  defp open(kind, name, {after_tag, text, place, size}, open, done) do
    if length(open) >= @max_depth, do: throw({:malformed, "sections nest deeper than #{@max_depth}", place})
    nodes(after_tag, text, place + size, [{kind, path(name, place), place, done} | open], [])
  end

  defp close(path, {after_tag, text, place, size}, [{kind, path, _place, before} | outer], done) do
    nodes(after_tag, text, place + size, outer, [{kind, path, Enum.reverse(done)} | before])
  end

  defp close(path, {_after, _text, place, _size}, _open, _done) do
    throw({:malformed, "{{/#{Enum.join(path, ".")}}} closes no section that is open", place})
  end

  defp value(expression, place) do
    [name | filters] = split_filters(expression)
    {:value, path(name, place), Enum.map(filters, &filter(String.trim(&1), place)), place}
  end

  # A bar within quotes belongs to the text of a default.
  defp split_filters(expression) do
    ~r/(?:[^|"]|"(?:[^"\\]|\\.)*")+/s
    |> Regex.scan(expression)
    |> List.flatten()
    |> then(&if(&1 == [], do: [""], else: &1))
  end

  defp filter("json", _place), do: {:json, true}

  defp filter(text, place) do
    case Regex.run(@default, text) do
      [_all, default] -> {:default, String.replace(default, ~r/\\(.)/s, "\\1")}
      nil -> throw({:malformed, "#{inspect(text)} is no filter; there are json and default: \"text\"", place})
    end
  end

  defp path(name, place) do
    name = String.trim(name)

    cond do
      name == "." -> []
      Regex.match?(@name, name) -> String.split(name, ".")
      true -> throw({:malformed, "#{inspect(name)} is no name", place})
    end
  end

  defp malformed(reason, text, place) do
    before = binary_part(text, 0, place)
    lines = String.split(before, "\n")
    column = lines |> List.last() |> String.length()
    [line | _rest] = text |> drop(place - byte_size(List.last(lines))) |> String.split("\n", parts: 2)

    shown =
      if String.valid?(line),
        do: "\n  #{String.slice(line, 0, 120)}\n  #{String.duplicate(" ", min(column, 120))}^",
        else: ""

    {:error, Error.new(:invalid_input, "the template is malformed: #{reason}, in line #{length(lines)}" <> shown)}
  end

  defp drop(binary, count), do: binary_part(binary, count, byte_size(binary) - count)
end
