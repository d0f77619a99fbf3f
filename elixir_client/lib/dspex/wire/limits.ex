defmodule DSPex.Wire.Limits do
  @moduledoc """
  Limits of values, in both directions and in every encoding (`proto/PROTOCOL.md`, section 3), and how values are decoded.

    * `depth` – levels of nesting: each list, map, tuple and set counts one (64)
    * `items` – members of one collection (1,000,000)
    * `attach` – bytes above which byte strings, tensors and tables become attachments, `:infinity` for never, or `:auto`: where
      it begins to pay, which is 1,024 in JSON and 65,536 in MessagePack
    * `maps` – how maps are decoded: `:plain`, or `:ordered` as `DSPex.Ordered`
  """

  defstruct depth: 64, items: 1_000_000, attach: :auto, maps: :plain

  @type t :: %__MODULE__{
          depth: pos_integer,
          items: pos_integer,
          attach: non_neg_integer | :infinity | :auto,
          maps: :plain | :ordered
        }

  @doc "Throws when a collection of `count` members stands at a level that is too deep, or has too many members."
  @spec check!(t, non_neg_integer, non_neg_integer) :: :ok
  def check!(%__MODULE__{depth: depth, items: items}, level, count) do
    cond do
      level > depth -> throw({:limit_exceeded, "values are nested deeper than #{depth} levels", "max_depth"})
      count > items -> throw({:limit_exceeded, "a collection has more than #{items} items", "max_items"})
      true -> :ok
    end
  end
end
