defmodule DSPex.Native.Response.Partial do
  @moduledoc """
  JSON that is still being written: each piece is read once, and `value/1` gives what is there of the value so far. Open
  texts, lists and objects count as far as they go; a key without its value, and a number or word that may go on, do not.
  What stands before the first `{` or `[` (prose, a fence) is skipped, and so is what stands behind the value.

      iex> alias DSPex.Native.Response.Partial
      iex> partial = Partial.feed(Partial.new(), ~S(Here: {"title": "Tid))
      iex> Partial.value(partial)
      {:ok, %{"title" => "Tid"}}
      iex> partial = Partial.feed(partial, ~S(es", "n": 12, "tags": ["sea"]}))
      iex> {Partial.value(partial), Partial.status(partial)}
      {{:ok, %{"n" => 12, "tags" => ["sea"], "title" => "Tides"}}, :complete}
  """

  alias DSPex.Native.Adapter.PythonJson
  alias DSPex.Native.Python

  # `stack`: `{:list, items}` and `{:object, pairs, key}`, the innermost first, each reversed. `at`: what comes next.
  # `run`: what has come of a text, number or word. `rest`: bytes that wait for more (half an escape, half a character).
  defstruct stack: [], at: :before, run: [], rest: "", value: nil

  @opaque t :: %__MODULE__{}

  @max_depth 900
  @space [?\s, ?\t, ?\n, ?\r]

  @doc "Before the first piece."
  @spec new() :: t
  def new, do: %__MODULE__{}

  @doc "Takes the next piece of the text."
  @spec feed(t, String.t()) :: t
  def feed(%{at: at} = partial, _text) when at in [:complete, :broken], do: partial
  def feed(partial, text), do: step(partial.rest <> text, %{partial | rest: ""})

  @doc """
  `:waiting` before the value begins, `:open` while it is written, `:complete` behind it, and `:broken` where the text is no
  JSON: there the value stays what it was, and `DSPex.Native.Response.repair/1` may read the whole text.
  """
  @spec status(t) :: :waiting | :open | :complete | :broken
  def status(%{at: :before}), do: :waiting
  def status(%{at: at}) when at in [:complete, :broken], do: at
  def status(_partial), do: :open

  @doc "The value as far as it is known."
  @spec value(t) :: {:ok, term} | :none
  def value(%{at: :before}), do: :none
  def value(%{at: :complete, value: value}), do: {:ok, Python.to_elixir(value)}

  def value(%{stack: stack} = partial) do
    {:value, value} = Enum.reduce(stack, open(partial), &around/2)
    {:ok, Python.to_elixir(value)}
  end

  # The text that is being written counts, if it is no key.
  defp open(%{at: :text} = partial), do: {:value, text(partial)}
  defp open(_partial), do: :nothing

  defp around({:list, items}, :nothing), do: {:value, Enum.reverse(items)}
  defp around({:list, items}, {:value, value}), do: {:value, Enum.reverse([value | items])}
  defp around({:object, pairs, _key}, :nothing), do: {:value, object(pairs)}
  defp around({:object, pairs, key}, {:value, value}), do: {:value, object([{key, value} | pairs])}

  # The last of equal keys wins, in the place of the first.
  defp object(reversed) do
    values = Map.new(Enum.reverse(reversed))

    if map_size(values) == length(reversed),
      do: {Enum.reverse(reversed)},
      else: {for({key, _old} <- reversed |> Enum.reverse() |> Enum.uniq_by(&elem(&1, 0)), do: {key, values[key]})}
  end

  defp text(%{run: run}), do: run |> Enum.reverse() |> IO.iodata_to_binary()

  defp step("", partial), do: partial
  defp step(_text, %{at: at} = partial) when at in [:complete, :broken], do: partial

  defp step(text, %{at: :before} = partial) do
    case :binary.match(text, ["{", "["]) do
      {at, 1} -> text |> binary_part(at, byte_size(text) - at) |> step(%{partial | at: :value})
      :nomatch -> partial
    end
  end

  defp step(text, %{at: at} = partial) when at in [:text, :key], do: string(text, partial)
  defp step(text, %{at: :word} = partial), do: word(text, partial)
  defp step(<<char, rest::binary>>, partial) when char in @space, do: step(rest, partial)
  defp step(<<char, rest::binary>> = text, partial), do: char(partial.at, char, rest, text, partial)

  defp char(at, ?{, rest, _text, partial) when at in [:value, :first_item],
    do: rest |> step(%{partial | stack: deeper(partial, {:object, [], nil}), at: :first_key} |> bounded())

  defp char(at, ?[, rest, _text, partial) when at in [:value, :first_item],
    do: rest |> step(%{partial | stack: deeper(partial, {:list, []}), at: :first_item} |> bounded())

  defp char(at, ?", rest, _text, partial) when at in [:value, :first_item],
    do: step(rest, %{partial | at: :text, run: []})

  # A comma before the closing bracket is forgiven, as LMs write it.
  defp char(at, ?], rest, _text, %{stack: [{:list, _items} | _outer]} = partial)
       when at in [:first_item, :value, :after],
       do: step(rest, close(partial))

  defp char(at, ?}, rest, _text, %{stack: [{:object, _pairs, _key} | _outer]} = partial)
       when at in [:first_key, :next_key, :after],
       do: step(rest, close(partial))

  defp char(at, ?", rest, _text, partial) when at in [:first_key, :next_key],
    do: step(rest, %{partial | at: :key, run: []})

  defp char(:colon, ?:, rest, _text, partial), do: step(rest, %{partial | at: :value})

  defp char(:after, ?,, rest, _text, %{stack: [{:list, _items} | _outer]} = partial),
    do: step(rest, %{partial | at: :value})

  defp char(:after, ?,, rest, _text, partial), do: step(rest, %{partial | at: :next_key})

  defp char(at, char, _rest, text, partial)
       when at in [:value, :first_item] and (char in ?0..?9 or char in ?a..?z or char in [?-, ?N, ?I]),
       do: word(text, %{partial | at: :word, run: []})

  defp char(_at, _char, _rest, _text, partial), do: broken(partial)

  defp deeper(partial, frame), do: [frame | partial.stack]
  defp bounded(%{stack: stack} = partial), do: if(length(stack) > @max_depth, do: broken(partial), else: partial)
  defp broken(partial), do: %{partial | at: :broken, run: []}

  defp close(%{stack: [frame | outer]} = partial) do
    {:value, value} = around(frame, :nothing)
    put(%{partial | stack: outer}, value)
  end

  defp put(%{stack: []} = partial, value), do: %{partial | at: :complete, value: value, run: []}
  defp put(%{stack: [{:list, items} | outer]} = partial, value), do: behind(partial, [{:list, [value | items]} | outer])

  defp put(%{stack: [{:object, pairs, key} | outer]} = partial, value),
    do: behind(partial, [{:object, [{key, value} | pairs], nil} | outer])

  defp behind(partial, stack), do: %{partial | stack: stack, at: :after, run: []}

  defp string(text, partial) do
    case :binary.match(text, ["\"", "\\"]) do
      {at, 1} ->
        <<run::binary-size(at), char, rest::binary>> = text
        ended(char, rest, add(partial, run))

      :nomatch ->
        whole(text, partial)
    end
  end

  # Half a character waits for its other bytes.
  defp whole(text, partial) do
    case :unicode.characters_to_binary(text) do
      {:incomplete, run, rest} -> %{add(partial, run) | rest: rest}
      {:error, _run, _rest} -> broken(partial)
      run -> add(partial, run)
    end
  end

  defp add(partial, ""), do: partial
  defp add(partial, run), do: %{partial | run: [run | partial.run]}

  defp ended(?", rest, %{at: :text} = partial), do: step(rest, put(partial, text(partial)))

  defp ended(?", rest, %{at: :key, stack: [{:object, pairs, _key} | outer]} = partial),
    do: step(rest, %{partial | stack: [{:object, pairs, text(partial)} | outer], at: :colon, run: []})

  defp ended(?\\, rest, partial) do
    case escape(rest) do
      {:ok, char, rest} -> string(rest, add(partial, char))
      :more -> %{partial | rest: "\\" <> rest}
      :error -> broken(partial)
    end
  end

  # A high surrogate waits for its other half, which may come with the next piece.
  defp escape(<<?u, high::binary-size(4), ?\\, ?u, low::binary-size(4), rest::binary>>) do
    if high?(high), do: decoded("\\u" <> high <> "\\u" <> low, rest), else: decoded("\\u" <> high, "\\u" <> low <> rest)
  end

  defp escape(<<?u, digits::binary-size(4), rest::binary>>) do
    if high?(digits) and byte_size(rest) < 6 and
         String.starts_with?("\\u", binary_part(rest, 0, min(2, byte_size(rest)))),
       do: :more,
       else: decoded("\\u" <> digits, rest)
  end

  defp escape(<<?u, _digits::binary>>), do: :more
  defp escape(<<char, rest::binary>>), do: decoded(<<?\\, char>>, rest)
  defp escape(""), do: :more

  defp high?(<<d, second, _rest::binary>>), do: d in ~c'dD' and second in ~c'89abAB'

  defp decoded(escape, rest) do
    with {:ok, text} <- PythonJson.decode("\"" <> escape <> "\""), do: {:ok, text, rest}
  end

  # Numbers and words end where something else begins.
  defp word(text, partial) do
    case :binary.match(text, [",", "]", "}", " ", "\n", "\r", "\t"]) do
      {at, 1} ->
        <<run::binary-size(at), rest::binary>> = text

        case partial |> add(run) |> text() |> PythonJson.decode() do
          {:ok, value} -> step(rest, put(partial, value))
          :error -> broken(partial)
        end

      :nomatch ->
        add(partial, text)
    end
  end
end
