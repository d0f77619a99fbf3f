defmodule DSPex.Native.Adapter.Repair.Look do
  @moduledoc false
  # The text under repair and the place in it. Offsets are relative to the place, as in json_repair; every look costs a step
  # of a budget, so that hostile texts end in bounded time.

  import DSPex.Native.Python, only: [is_space: 1]

  defstruct [:chars, :size, :steps, index: 0, context: [], deferred: [], tried?: false]

  @type t :: %__MODULE__{
          chars: tuple,
          size: non_neg_integer,
          steps: :counters.counters_ref(),
          index: integer,
          context: [:key | :value | :array],
          deferred: [:key],
          tried?: boolean
        }
  @type code :: non_neg_integer | nil

  @budget 4_000_000

  defguard is_quote(char) when char in [?", ?', ?“, ?”]

  @spec new(String.t()) :: t
  def new(text) do
    chars = text |> String.to_charlist() |> List.to_tuple()
    %__MODULE__{chars: chars, size: tuple_size(chars), steps: :counters.new(1, [])}
  end

  @doc "The character at an offset. As in Python, a place before the start counts from the end."
  @spec at(t, integer) :: code
  def at(look, offset \\ 0)

  def at(%__MODULE__{index: index, size: size} = look, offset) do
    spend(look, 1)

    case index + offset do
      place when place >= size or place < -size -> nil
      place when place < 0 -> elem(look.chars, size + place)
      place -> elem(look.chars, place)
    end
  end

  defp spend(%__MODULE__{steps: steps}, count) do
    :counters.add(steps, 1, count)
    if :counters.get(steps, 1) > @budget, do: throw(:unsure)
  end

  @spec move(t, integer) :: t
  def move(%__MODULE__{index: index} = look, count \\ 1), do: %{look | index: index + count}

  @spec skip_spaces(t) :: t
  def skip_spaces(look) do
    case at(look) do
      char when is_space(char) -> look |> move() |> skip_spaces()
      _other -> look
    end
  end

  @doc "The offset of the next character that is no white space."
  @spec scroll(t, integer) :: integer
  def scroll(look, offset) do
    case at(look, offset) do
      char when is_space(char) -> scroll(look, offset + 1)
      _other -> offset
    end
  end

  @spec scroll_back(t, integer) :: integer
  def scroll_back(look, offset) do
    case at(look, offset) do
      char when is_space(char) and look.index + offset >= 0 -> scroll_back(look, offset - 1)
      _other -> offset
    end
  end

  @doc "The offset of the next unescaped target, or of the end."
  @spec skip_to(t, code | [code], integer) :: integer
  def skip_to(look, targets, offset \\ 0), do: skip(look, List.wrap(targets), look.index + offset, 0)

  defp skip(%__MODULE__{size: size, index: index}, _targets, place, _slashes) when place >= size, do: size - index

  defp skip(look, targets, place, slashes) do
    case at(look, place - look.index) do
      ?\\ ->
        skip(look, targets, place + 1, slashes + 1)

      char ->
        if rem(slashes, 2) == 0 and char in targets, do: place - look.index, else: skip(look, targets, place + 1, 0)
    end
  end

  @doc "Whether only white space stands between the place and an offset."
  @spec only_spaces?(t, integer) :: boolean
  def only_spaces?(look, stop),
    do: stop <= 1 or Enum.all?(1..(stop - 1), &(at(look, &1) |> then(fn char -> char == nil or is_space(char) end)))

  @doc "The text between two places."
  @spec slice(t, integer, integer) :: [non_neg_integer]
  def slice(%__MODULE__{chars: chars, size: size} = look, from, to) do
    from = max(from, 0)
    to = min(to, size)

    if from >= to do
      []
    else
      spend(look, to - from)
      for place <- from..(to - 1), do: elem(chars, place)
    end
  end

  @doc "The same place in another text."
  @spec replace(t, [non_neg_integer]) :: t
  def replace(look, chars) do
    chars = List.to_tuple(chars)
    spend(look, tuple_size(chars))
    %{look | chars: chars, size: tuple_size(chars)}
  end

  @spec enter(t, :key | :value | :array) :: t
  def enter(look, context) do
    # Python's own recursion ends at about this depth.
    if length(look.context) > 400, do: throw(:unsure)
    %{look | context: [context | look.context]}
  end

  @spec leave(t) :: t
  def leave(%__MODULE__{context: context} = look), do: %{look | context: Enum.drop(context, 1)}

  @spec current(t) :: :key | :value | :array | nil
  def current(%__MODULE__{context: []}), do: nil
  def current(%__MODULE__{context: [current | _outer]}), do: current

  @spec alpha?(code) :: boolean
  def alpha?(nil), do: false
  def alpha?(char) when char < 0x80, do: char in ?a..?z or char in ?A..?Z
  def alpha?(char), do: Regex.match?(~r/\A\p{L}\z/u, <<char::utf8>>)

  @spec digit?(code) :: boolean
  def digit?(nil), do: false
  def digit?(char) when char < 0x80, do: char in ?0..?9
  def digit?(char), do: Regex.match?(~r/\A\p{Nd}\z/u, <<char::utf8>>)

  @spec alnum?(code) :: boolean
  def alnum?(nil), do: false
  def alnum?(char) when char < 0x80, do: char in ?a..?z or char in ?A..?Z or char in ?0..?9
  def alnum?(char), do: Regex.match?(~r/\A[\p{L}\p{N}]\z/u, <<char::utf8>>)

  @spec word?(code) :: boolean
  def word?(char), do: char in [?_, ?-] or alnum?(char)

  @spec lower(code) :: code
  def lower(char) when char in ?A..?Z, do: char + 32
  def lower(char), do: char
end
